"""Stand-alone files that a function's own interpreter runs: standard library only, Python 3.8 to 3.14.

`zygote` forks environments, `sandbox` gives each its own view of the file system, `worker` is the process that a
handler runs in, `awslambda` is what the handler sees of AWS's runtime: context, logging, errors, encoding. Nothing
here imports the daemon's packages, and the daemon imports nothing of this.
"""
