"""Small real image classifiers and backbones of transformers with random weights, saved in the hub's layout."""

import pytest
import torch

NAMES = ["cat", "dog", "cup"]
SIDE = 64


def _config(kind, **more):
    import transformers

    small = {
        "ViT": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
        "Dinov2": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2},
        "ConvNext": {"hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1]},
        "ResNet": {"embedding_size": 16, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1]},
        "Swin": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "patch_size": 4},
    }[kind]
    sized = {} if kind in ("ConvNext", "ResNet") else {"image_size": SIDE}
    patch = {"patch_size": 8} if kind in ("ViT", "Dinov2") else {}
    labels = {"id2label": dict(enumerate(NAMES)), "label2id": {n: i for i, n in enumerate(NAMES)}}
    return getattr(transformers, f"{kind}Config")(**{**small, **sized, **patch, **labels, **more})


def _processor(kind):
    import transformers

    bit = {"size": {"shortest_edge": 74}, "crop_size": {"height": SIDE, "width": SIDE}}
    return {
        "ViT": lambda: transformers.ViTImageProcessor(size={"height": SIDE, "width": SIDE}),
        "Swin": lambda: transformers.ViTImageProcessor(size={"height": SIDE, "width": SIDE}, resample=3),
        "Dinov2": lambda: transformers.BitImageProcessor(**bit),
        "ConvNext": lambda: transformers.ConvNextImageProcessor(size={"shortest_edge": SIDE}, crop_pct=0.875),
        "ResNet": lambda: transformers.ConvNextImageProcessor(size={"shortest_edge": SIDE}, crop_pct=0.875),
    }[kind]()


def save_backbone(kind, folder, *, head=True, processor=None, model_class=None, **config):
    """Saves a network whose answers hang on every pixel: as initialised, they would be nearly the same for all."""
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(len(kind))
        model = getattr(transformers, model_class or f"{kind}{'ForImageClassification' if head else 'Model'}")(
            _config(kind, **config)
        )
        for name, weight in model.named_parameters():
            if weight.ndim >= 2:
                torch.nn.init.kaiming_normal_(weight)
            elif name.endswith("bias"):
                torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    (processor or _processor(kind)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def vit_folder(tmp_path_factory):
    return save_backbone("ViT", tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="session")
def backbone_folders(tmp_path_factory, vit_folder):
    """Kind → folders of a classifier and of a backbone."""
    make = tmp_path_factory.mktemp
    kinds = ("ViT", "Dinov2", "ConvNext", "ResNet", "Swin")
    return {
        kind: (
            vit_folder if kind == "ViT" else save_backbone(kind, make(kind)),
            save_backbone(kind, make(f"{kind}-features"), head=False),
        )
        for kind in kinds
    }
