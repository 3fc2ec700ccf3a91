"""A transcoding engine: poll, fetch, transcode with ffmpeg, deliver, report.

Laws:
- An engine talks to the dispatcher only through `client`.
- ffmpeg is started without a shell, and may use only the protocols that its source needs.
- No file of a job is left behind except the output that was reported, however the job ends.
"""
