"""What a camera's thread reads from: a video device, an RTSP stream, MJPEG over HTTP, or GenICam.

source = MjpegStream(settings.cameras["top"].stream)
source.open()
taken_after_s = source.grab()
file_or_pixels = source.retrieve()

Each source proves when a frame was taken, as exactly as it can. To add one, keep
`source.FrameSource`.
"""
