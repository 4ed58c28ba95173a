"""Image–text models: pictures and texts as vectors of one space.

`open_clip_models` loads what open_clip trains; `open_clip_names` knows what a name stands for. The verbs that compare
(`embed`, `embed_texts`, `similarity`, `classify` with labels) are in `tasks`.
"""
