import keras
import numpy as np
import pytest
from keras import layers, ops

from transfuse_keras.errors import InputError
from transfuse_keras.model.flops import count_flops


def flops(shape, *blocks):
    image = x = keras.Input(shape)
    for block in blocks:
        x = block(x)
    return count_flops(keras.Model(image, x))


# (image, layer, multiplications by hand)
LAYERS = {
    "convolution": ((8, 6, 4), layers.Conv2D(5, 3, padding="same"), 8 * 6 * 5 * (3 * 3 * 4)),
    "stride": ((8, 6, 4), layers.Conv2D(5, (2, 3), strides=2), 4 * 2 * 5 * (2 * 3 * 4)),
    "dilation": ((8, 6, 4), layers.Conv2D(5, 3, dilation_rate=2), 4 * 2 * 5 * (3 * 3 * 4)),
    "groups": ((8, 6, 4), layers.Conv2D(6, 3, padding="same", groups=2), 8 * 6 * 6 * (3 * 3 * 2)),
    "depthwise": ((8, 6, 4), layers.DepthwiseConv2D(3, depth_multiplier=2), 6 * 4 * 8 * 9),
    "transposed": ((8, 6, 4), layers.Conv2DTranspose(5, 3, strides=2), 8 * 6 * 4 * (3 * 3 * 5)),
    "dense": ((7, 12), layers.Dense(9), 7 * 12 * 9),
    "einsum": ((7, 12), layers.EinsumDense("abc,cde->abde", (7, 3, 5)), 7 * 12 * 3 * 5),
    "elements": ((8, 6, 4), layers.BatchNormalization(), 0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_counts_as_by_hand(name):
    shape, layer, multiplications = LAYERS[name]
    assert flops(shape, layer) == 2 * multiplications


def test_attention_counts_both_products():
    tokens, width = 10, 6
    query = keras.Input((tokens, width))
    scores = ops.matmul(query, ops.transpose(query, (0, 2, 1)))
    model = keras.Model(query, ops.matmul(ops.softmax(scores), query))
    assert count_flops(model) == 2 * 2 * tokens * tokens * width
    heads, depth = 3, 4
    attention = layers.MultiHeadAttention(heads, depth)
    projections, products = 4 * tokens * width * heads * depth, 2 * tokens * tokens * heads * depth
    assert flops((tokens, width), lambda x: attention(x, x)) == 2 * (projections + products)


def test_a_larger_image_takes_so_much_more(smallest):
    """Convolutions grow as the area, attention and resizing by matrices faster."""
    model = smallest()
    small, large = (count_flops(model.resized(size).mask_model) for size in ((64, 64), (128, 128)))
    assert 4 < large / small < 5


def test_what_cannot_be_counted_is_said():
    with pytest.raises(InputError, match=r"counted \(conv\)"):
        flops((4, 4, 4, 1), layers.Conv3D(2, 3))
    image = keras.Input((3, 4))
    x = ops.einsum("...i,ij->...j", image, np.ones((4, 2), "float32"))
    with pytest.raises(InputError, match=r"counted \(einsum\)"):
        count_flops(keras.Model(image, x))
