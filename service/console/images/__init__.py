"""Pictures of the pages: previews that every browser shows, heatmaps, contours, samples."""
