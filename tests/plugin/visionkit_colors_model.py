from visionkit import Preprocess
from visionkit.pipeline import choose_device


class Colors:
    labels = ("red", "green", "blue")
    preprocess = Preprocess(size_wh=(32, 32), resize="squash")

    def __init__(self, name, device, speed):
        self.name, self.device, self.speed = f"colors:{name}", choose_device(device), speed

    def image_features(self, batch):
        return batch.pixels.float().mean((2, 3)) + 1e-3

    def class_logits(self, batch):
        return 10 * self.image_features(batch)


def load(name, *, device, speed):
    return Colors(name, device, speed)
