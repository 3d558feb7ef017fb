"""Stack traces, whatever wrote them: their frames, which of them are the app's own code, and which crashes are alike.

`crash_group.group_of` is what everyone else needs. `frames.read_stack` reads texts, `structured` the JSON that some
SDKs send instead or besides, `own_code` knows what belongs to a system, and `names` what differs between builds.
"""
