"""A SavedModel, for TensorFlow and TensorFlow Serving."""

from transfuse_keras.data.normalization import keeps_z_scores
from transfuse_keras.export.serving import builtin_resizing, serving_function
from transfuse_keras.files import replacing


def export_saved_model(model, path):
    """Write the serving model as a SavedModel with a free batch dimension.

    Its signatures, both from `image` to `probabilities`: "serving_default" takes float32 images
    of the model's size, as of `serving_model`; "any_size", unless the model is of a task on
    volumes, uint8 RGB (B, h, w, C) of any size, which is resized as `predict` does, and gives
    float32 (B, h, w, M).
    """
    import tensorflow as tf

    serve, serving = serving_function(model)
    *size, channels = model.input_shape[1:]
    free = tf.TensorSpec((None, None, None, channels), "uint8", "image")

    @tf.function(input_signature=[free], autograph=False)
    def any_size(image):
        shape = tf.shape(image)[1:3]
        image = tf.round(resize(tf.cast(image, "float32"), size))
        return {"probabilities": resize(serve(image)["probabilities"], shape)}

    module = tf.Module()
    module.weights = [variable.value for variable in serving.variables]
    with builtin_resizing(), replacing(path) as temporary:
        # traced once for both signatures
        signatures = {"serving_default": serve.get_concrete_function()}
        if not keeps_z_scores(model.normalization):
            signatures["any_size"] = any_size.get_concrete_function()
        tf.saved_model.save(module, str(temporary), signatures)


def resize(images, size):
    """Images (B, h, w, C) to `size`, as data/resize.py: by area when they shrink, else bilinear."""
    import tensorflow as tf

    shrinks = tf.reduce_all(tf.shape(images)[1:3] >= size)
    return tf.cond(
        shrinks,
        lambda: tf.image.resize(images, size, "area"),
        lambda: tf.image.resize(images, size),
    )
