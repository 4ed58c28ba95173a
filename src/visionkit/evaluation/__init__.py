"""Models compared on the same pictures: figures with intervals, speed, and whether a difference is real.

`vk.evaluate` is `compare.evaluate`.
"""
