"""The base of layers that are made of layers."""

import keras


class Block(keras.layers.Layer):
    """A layer whose weights are all in its sublayers, which are built when it is first called.

    Reading a saved model calls it again, so there is nothing to build from its configuration.
    No layer here writes `get_config`: Keras records the arguments of the constructor by itself.
    """

    def build_from_config(self, config):
        pass
