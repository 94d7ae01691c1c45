"""What the page Live shows: the last parts of each place, counts of the shift, alarms."""
