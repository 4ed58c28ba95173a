"""The verbs: one file each. Start reading at `classify.py`; `driver.py` holds what all verbs promise.

Nothing is re-exported here: `visionkit.classify` is the function, `visionkit.tasks.classify` the module.
"""
