"""Sources become pixels: the only place that reads an image.

`load_image` takes whatever a user has and gives one thing: an upright sRGB picture in mode RGB.
"""

from .drawing import at_side, color_picture, draw_boxes, draw_heat, heat_picture
from .find import find_images
from .fit import Fit
from .grid import draw_rows
from .load import load_image
from .pixels import load_array
from .sheet import contact_sheet
from .sources import Picture, Source, describe, is_single, is_tensor
from .textchunk import read_png_text, write_png
from .upload import Upload, UploadRules, encode_upload

__all__ = [
    "Fit",
    "Picture",
    "Source",
    "Upload",
    "UploadRules",
    "at_side",
    "color_picture",
    "contact_sheet",
    "describe",
    "draw_boxes",
    "draw_heat",
    "draw_rows",
    "encode_upload",
    "find_images",
    "heat_picture",
    "is_single",
    "is_tensor",
    "load_array",
    "load_image",
    "read_png_text",
    "write_png",
]
