"""The service's own door: `POST /detect` for one part, `POST /detect/batch` for many images."""
