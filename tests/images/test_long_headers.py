"""Small files of very many parts: refused, or the right picture, at once and in little memory."""

import pytest
from PIL import Image

from support.files import encode
from support.memory import at_most
from visionkit.errors import ImageTooLargeError
from visionkit.images import load_image


def test_looking_for_scans_takes_no_memory():
    data = encode(Image.new("L", (64, 64), 100), "JPEG") + b"\xff" * 10**8
    with at_most(seconds=2, memory=2**27):
        assert load_image(data).size == (64, 64)


@pytest.mark.parametrize("at", [2**20 - 1, 2**20, 2**21 - 1])
def test_scans_are_counted_across_blocks(at):
    data = encode(Image.new("L", (64, 64), 100), "JPEG")
    many = data + (b"\0" * (at - len(data))) + b"\xff\xda" * 100
    with pytest.raises(ImageTooLargeError, match="has 101 scans"):
        load_image(many)
    assert load_image(many[:-2]).size == (64, 64)
