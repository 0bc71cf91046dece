"""The backbones: networks of keras.applications without their heads, taking uint8 pixels, gray or RGB.

One row each in BACKBONES. What a backbone expects of its pixels is made by layers inside the graph, so that training,
batch and stream hand over the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SMALLEST_SIDE = 32  # pixels, of all of them
_MEANS_BGR = (103.939, 116.779, 123.68)  # of ImageNet's training images


def _as_they_are(pixels: Any) -> Any:
    """The network scales 0..255 itself."""
    from keras import layers

    return layers.Rescaling(1.0, dtype="float32")(pixels)


def _centred(pixels: Any) -> Any:
    from keras import layers

    return layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32")(pixels)


def _without_means(pixels: Any) -> Any:
    """Blue, green, red less ImageNet's means, as the weights from Caffe expect it."""
    from keras import layers, ops

    swapped = ops.take(pixels, [2, 1, 0], axis=-1)
    return layers.Rescaling([1.0] * 3, offset=[-mean for mean in _MEANS_BGR], dtype="float32")(swapped)


@dataclass(frozen=True)
class Backbone:
    """A network of keras.applications.

    ``application``: its name there. ``prepare``: makes what it expects from RGB of 0..255. ``top``: the first layer
    that fine-tuning moves where the config names none. ``side``: the usual size of its pixels.
    """

    application: str
    prepare: Callable[[Any], Any]
    top: str
    side: int = 224
    scales_itself: bool | None = None  # None: it has no layers for that

    def build(self, inputs: Any, *, weights: str | None = None, classes: int | None = None) -> Any:
        """A keras.Model from ``inputs`` (uint8[N, H, W, 1 or 3]) to feature maps, or to the scores of ``classes``.

        ``weights``: "imagenet" fetches them as keras.applications does; None: random ones.
        """
        import keras
        from keras import layers

        height, width, channels = inputs.shape[1:]
        colors = layers.Concatenate()([inputs] * 3) if channels == 1 else inputs
        options: dict[str, Any] = {"include_top": False}
        if classes is not None:
            options = {"classes": classes, "classifier_activation": None}
        if self.scales_itself is not None:
            options["include_preprocessing"] = self.scales_itself
        application = getattr(keras.applications, self.application)
        network = application(
            input_tensor=self.prepare(colors), input_shape=(height, width, 3), weights=weights, **options
        )
        for layer in network.layers:
            if isinstance(layer, layers.Normalization):  # its tensors would be exported as inputs of the graph
                layer.mean, layer.variance = (keras.ops.convert_to_numpy(one) for one in (layer.mean, layer.variance))
        return network


BACKBONES = {
    "mobilenet": Backbone("MobileNet", _centred, "conv_dw_12"),
    "mobilenet_v2": Backbone("MobileNetV2", _centred, "block_13_expand"),
    "mobilenet_v3_small": Backbone("MobileNetV3Small", _centred, "expanded_conv_8_expand", scales_itself=False),
    "mobilenet_v3_large": Backbone("MobileNetV3Large", _centred, "expanded_conv_12_expand", scales_itself=False),
    "efficientnet_v2_b0": Backbone("EfficientNetV2B0", _as_they_are, "block6a_expand_conv", scales_itself=True),
    "resnet50": Backbone("ResNet50", _without_means, "conv5_block1_1_conv"),
    "vgg16": Backbone("VGG16", _without_means, "block5_conv1"),
}
