"""A back end outside visionkit: names the colour that a picture has most of."""

from visionkit.models import Backend

BACKEND = Backend("colors", ("classify", "embed"), "visionkit_colors_model:load", summary="which colour leads")
