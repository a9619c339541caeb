"""Progressive upsampling (PUP) of the transformer's map, as in SETR (paper, Transformer Branch)."""

import keras
from keras import layers

from transfuse_keras.layers.block import Block
from transfuse_keras.layers.up_conv import UpBlock


@keras.saving.register_keras_serializable("transfuse_keras")
class PUPDecoder(Block):
    """Two upsampling-convolution steps from stride 16 to strides 8 and 4.

    Args:
        widths: (D_1, D_2), the channels at strides 8 and 4.
        dropout: rate of the channel-wise dropout on each of the three maps. A dropped map
            feeds the next step as well as the fusion.

    Call: t0 (B, H, W, D_0) -> (t0, t1, t2) with t1 (B, 2H, 2W, D_1), t2 (B, 4H, 4W, D_2).
    """

    def __init__(self, widths, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.drop = [layers.SpatialDropout2D(dropout) for _ in range(3)]
        self.up1 = UpBlock(widths[0], name="up1")
        self.up2 = UpBlock(widths[1], name="up2")

    def call(self, t0):
        t0 = self.drop[0](t0)
        t1 = self.drop[1](self.up1(t0))
        t2 = self.drop[2](self.up2(t1))
        return t0, t1, t2
