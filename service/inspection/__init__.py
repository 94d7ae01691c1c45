"""One inspection behind every door: from images to a result, without any protocol."""
