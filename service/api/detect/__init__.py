"""The door `POST /detect` and `POST /detect/batch`."""
