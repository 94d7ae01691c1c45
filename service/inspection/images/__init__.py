"""An image on its way in and out: decoded, prepared, drawn, and what that holds in memory."""
