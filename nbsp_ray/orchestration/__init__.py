"""Ray: the only folder that imports it. Ray schedules, the store remembers.

`launch.run_plan` runs what is left of a plan as one fresh Tune experiment, in which `search` hands out phases as `gate`
releases them and `trainable` works on one of them. Nothing here must survive: what is done is what the store says.
"""
