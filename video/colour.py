"""Between the numbers of H.273 and what the converter of FFmpeg takes."""

from typing import Final

from av.video.reformatter import Interpolation

# Chosen by measurement: there and back within two levels, at a fifth of the cost of encoding. Without the last two
# flags on the way to RGB three levels are lost; on the way back they cost time and gain nothing.
TO_RGB: Final = int(Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT)
TO_YUV: Final = int(Interpolation.AREA | Interpolation.FULL_CHR_H_INP)

# swscale's SWS_CS_*: the numbers of H.273, but one for the three names of BT.601 and one for both of BT.2020.
_SWSCALE: Final = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}


def swscale_matrix(matrix: int) -> int:
    """The converter's number of a colour matrix; BT.601 for those it does not know."""
    return _SWSCALE.get(matrix, 5)
