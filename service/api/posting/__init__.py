"""A request's images and their fields: from a form, from JSON, or an image as the body.

posting = await read_posting(request, query, limits, deadline, BodyKind.PART)
posting.fields.category, [image.source for image in posting.images]
"""
