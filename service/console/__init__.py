"""The pages for people, served from here alone: no build step, nothing from another host.

Templates have all texts; `catalogues/` translates them. A page's route declares `is_page`, so that
a browser's session stands for an API key.
"""
