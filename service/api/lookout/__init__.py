"""The door for clients of Amazon Lookout for Vision: DetectAnomalies in that service's format."""
