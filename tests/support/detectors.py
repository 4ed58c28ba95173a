"""Tiny real detectors with random weights, saved in the hub's layout."""

import pytest
import torch

SIDE = 160
ID2LABEL = {0: "cat", 1: "dog", 2: "cup"}
LABELS = {"id2label": ID2LABEL, "label2id": {v: k for k, v in ID2LABEL.items()}}


def squash(size_wh=(SIDE, SIDE), **settings):
    """RT-DETR's own image processor, of a size of ours."""
    from transformers import RTDetrImageProcessor

    return RTDetrImageProcessor(size={"height": size_wh[1], "width": size_wh[0]}, **settings)


def save(model, processor, folder, seed=7):
    """Saves a model whose boxes hang on every pixel.

    As transformers initialises them, the heads give the same boxes for every picture, and a test of the pixels would
    pass whatever they are. Drawn like this, one level of 255 off in a resize moves boxes by hundreds of pixels. Seeded
    here, since how much transformers draws before hangs on its version; with some seeds two boxes tie.
    """
    torch.manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.ndim >= 2:
            torch.nn.init.kaiming_normal_(weight)
        elif name.endswith("bias"):
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def rt_detr(seed=0, **settings):
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

    torch.manual_seed(seed)
    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_hidden_dim=32,
        encoder_in_channels=[16, 24, 32],
        encoder_ffn_dim=32,
        encoder_attention_heads=2,
        d_model=32,
        decoder_in_channels=[32] * 3,
        decoder_ffn_dim=32,
        decoder_layers=2,
        decoder_attention_heads=2,
        num_queries=50,
        num_denoising=10,
        **{**LABELS, **settings},
    )
    return RTDetrForObjectDetection(config)


def d_fine():
    from transformers import DFineConfig, DFineForObjectDetection, HGNetV2Config

    torch.manual_seed(1)
    backbone = HGNetV2Config(
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 16, 24, 32],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[16, 24, 32, 40],
        stage_num_blocks=[1, 1, 1, 1],
        stage_downsample=[False, True, True, True],
        stage_light_block=[False, False, False, False],
        stage_kernel_size=[3, 3, 3, 3],
        stage_numb_of_layers=[1, 1, 1, 1],
        embedding_size=8,
        hidden_sizes=[16, 24, 32, 40],
        depths=[1, 1, 1, 1],
        out_features=["stage2", "stage3", "stage4"],
    )
    config = DFineConfig(
        backbone_config=backbone,
        encoder_hidden_dim=32,
        encoder_in_channels=[24, 32, 40],
        encoder_ffn_dim=32,
        encoder_attention_heads=2,
        d_model=32,
        decoder_in_channels=[32] * 3,
        decoder_ffn_dim=32,
        decoder_layers=2,
        decoder_attention_heads=2,
        num_queries=50,
        num_denoising=10,
        **LABELS,
    )
    return DFineForObjectDetection(config)


def lw_detr():
    from transformers import LwDetrConfig, LwDetrForObjectDetection, LwDetrViTConfig

    torch.manual_seed(2)
    backbone = LwDetrViTConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=SIDE,
        pretrain_image_size=SIDE,
        patch_size=16,
        window_block_indices=[0, 2],
        num_windows=4,
        out_indices=[2, 4],
    )
    config = LwDetrConfig(
        backbone_config=backbone,
        projector_scale_factors=[1.0],
        d_model=32,
        decoder_ffn_dim=32,
        decoder_layers=2,
        decoder_self_attention_heads=2,
        decoder_cross_attention_heads=4,
        num_queries=50,
        group_detr=2,
        **LABELS,
    )
    return LwDetrForObjectDetection(config)


@pytest.fixture
def make_rt_detr(tmp_path):
    """Saves an RT-DETR of other settings."""
    return lambda processor=None, **config: save(rt_detr(**config), processor or squash(), tmp_path / "model")


@pytest.fixture(scope="session")
def make_processor():
    """RT-DETR's image processor of other settings."""
    return squash


@pytest.fixture(scope="session")
def rt_detr_folder(tmp_path_factory):
    return save(rt_detr(), squash(), tmp_path_factory.mktemp("rt_detr"))


@pytest.fixture(scope="session")
def detector_folders(tmp_path_factory, rt_detr_folder):
    """Kind → folder, of three families and three ways of preprocessing."""
    from transformers import DeformableDetrImageProcessor

    make = tmp_path_factory.mktemp
    size = {"height": SIDE, "width": SIDE}
    return {
        "rt_detr": rt_detr_folder,
        "oblong": save(rt_detr(3), squash((192, 128), resample=3, do_normalize=True), make("oblong"), seed=2),
        "d_fine": save(d_fine(), squash(), make("d_fine")),
        "lw_detr": save(lw_detr(), DeformableDetrImageProcessor(size=size), make("lw_detr")),
    }
