"""A transcoding engine: poll, fetch, transcode with ffmpeg, deliver, report.

Laws:
- An engine knows the dispatcher only through `client`.
- ffmpeg is started without a shell, and may use only the protocols that its source needs.
- Whatever happens to a job, no file of it is left behind but the output that was reported.
"""
