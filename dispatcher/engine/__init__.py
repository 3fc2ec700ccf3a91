"""A transcoding engine: poll, fetch, transcode with ffmpeg, deliver, report.

Laws:
- An engine talks to the dispatcher only through `client`.
- A client chooses a source, so nothing is opened for one that the operator has not permitted, and
  all that it may cost is bounded.
- ffmpeg is started without a shell, in a sandbox, and may use only the protocols that its source
  needs.
- No file of a job is left behind except the output that was reported, however the job ends.
"""
