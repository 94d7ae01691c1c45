"""What a run reports and keeps while it goes on, and when it stops."""
