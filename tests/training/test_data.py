"""Data in every form that is taken; labels by name; what is refused."""

from __future__ import annotations

import io
import json
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torchvision

import visionkit as vk
from visionkit.errors import InputError, SourceError, TrainingError
from visionkit.images import describe, load_image
from visionkit.training.data import read_data, split
from visionkit.training.datasets import Item
from visionkit.training.prepare import split_data


def png(value, size=(4, 4)):
    buffer = io.BytesIO()
    load_image(np.full((*size, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write(folder, *paths):
    for value, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(png(value % 256))


def as_pairs(data):
    return [(describe(s), label) for s, label in zip(data.sources, data.labels, strict=True)]


def test_a_folder_per_class(tmp_path):
    write(tmp_path, "b/2.png", "a/deeper/1.png", "beside.png", "c/3.png")
    (tmp_path / "without").mkdir()
    data = read_data(tmp_path)
    assert as_pairs(data) == [
        (str(tmp_path / "a/deeper/1.png"), "a"),
        (str(tmp_path / "b/2.png"), "b"),
        (str(tmp_path / "c/3.png"), "c"),
    ]
    assert data.classes == ("a", "b", "c")
    assert data.empty == ("without",)
    assert not data.multi_label
    assert data.parts == ()


def test_a_folder_of_parts(tmp_path):
    """A class missing from one part shifts nothing."""
    names = ["a/1", "a/2", "b/3", "c/4", "c/5"]
    write(tmp_path, *(f"train/{n}.png" for n in names), "Valid/a/6.png", "Valid/c/7.png", "test/b/8.png", "train/x.png")
    data = read_data(str(tmp_path))
    learn, check = split(data, 0.25, 0)
    assert data.classes == ("a", "b", "c")
    assert learn.labels == ("a", "a", "b", "c", "c")
    assert check.labels == ("a", "c")
    assert data.part("test").labels == ("b",)


def test_without_val_the_test_part_is_measured_on(tmp_path):
    write(tmp_path, "train/a/1.png", "train/b/2.png", "test/a/3.png")
    assert split(read_data(tmp_path), 0.25, 0)[1].labels == ("a",)


def test_classes_that_are_called_like_parts(tmp_path):
    write(tmp_path, "train/1.png", "test/2.png")
    assert read_data(tmp_path).labels == ("test", "train")
    write(tmp_path, "bus/3.png")
    assert set(read_data(tmp_path).labels) == {"test", "train", "bus"}


CSV = 'image,label,split,extra\na.png,cat,train,1\n"sub/b,\nc.png"," dog",train,2\nhttps://x.test/y.png,cat,VAL,3\n'


def test_csv(tmp_path):
    (tmp_path / "data.csv").write_text(CSV, encoding="utf-8-sig")
    data = read_data(tmp_path / "data.csv")
    assert as_pairs(data) == [
        (str(tmp_path / "a.png"), "cat"),
        (str(tmp_path / "sub/b,\\nc.png"), " dog"),
        ("https://x.test/y.png", "cat"),
    ]
    assert data.parts == ("train", "train", "val")
    assert split(data, 0.5, 0)[1].sources == ("https://x.test/y.png",)


def test_a_comma_without_quotes_in_a_csv(tmp_path):
    (tmp_path / "d.csv").write_text("image,label\na.png,cat\nb.png,Doe, John\n")
    with pytest.raises(InputError, match=r"line 3 has 3 cells for 2 columns: quote what holds a comma"):
        read_data(tmp_path / "d.csv")


def test_several_labels_in_a_csv(tmp_path):
    (tmp_path / "d.csv").write_text('image,label\na.png,"[""cat"", ""indoors""]"\nb.png,[]\nc.png,"[""cat""]"\n')
    data = read_data(tmp_path / "d.csv")
    assert data.labels == (("cat", "indoors"), (), ("cat",))
    assert data.multi_label
    assert data.classes == ("cat", "indoors")
    assert data.names_of(0) == ("cat", "indoors")


def test_a_label_that_begins_with_a_bracket_is_a_name(tmp_path):
    (tmp_path / "d.csv").write_text("image,label\na.png,[x]\nb.png,y\nc.png,[1]\n")
    assert read_data(tmp_path / "d.csv").labels == ("[x]", "y", "[1]")


def test_jsonl(tmp_path):
    lines = [{"image": "a.png", "label": ["x", "y"]}, {"image": "b.png", "label": ["y"]}]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    data = read_data(tmp_path / "d.jsonl")
    assert data.labels == (("x", "y"), ("y",))
    assert data.sources == (tmp_path / "a.png", tmp_path / "b.png")


def test_parquet(tmp_path):
    write(tmp_path, "a.png")
    images = [{"bytes": png(9), "path": None}, {"bytes": None, "path": "a.png"}]
    pq.write_table(pa.table({"image": images, "label": ["x", "y"], "split": ["train", "test"]}), tmp_path / "d.parquet")
    data = read_data(tmp_path / "d.parquet")
    assert [load_image(source).getpixel((0, 0))[0] for source in data.sources] == [9, 0]
    assert data.labels == ("x", "y")
    assert data.parts == ("train", "test")


def test_a_mapping_of_parts():
    parts = {"train": [(png(0), "a"), (png(1), "b"), (png(2), "b")], "validation": [(png(3), "b")]}
    learn, check = split(read_data(parts), 0.5, 0)
    assert learn.labels == ("a", "b", "b")
    assert check.labels == ("b",)


class Numbers(torch.utils.data.Dataset):
    classes = ("none", "one", "two")

    def __init__(self, *, targets=True, kind="array"):
        self.kind = kind
        self.made = 0
        if targets:
            self.targets = torch.tensor([2, 0, 1, 2])

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if not 0 <= index < 4:
            raise IndexError
        self.made += 1
        picture = np.full((5, 6, 3), 10 * index, np.uint8)
        if self.kind == "tensor":
            picture = torch.from_numpy(picture).permute(2, 0, 1) / 255
        return picture, [2, 0, 1, 2][index]


@pytest.mark.parametrize("targets", [True, False])
@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_a_torch_data_set(targets, kind):
    dataset = Numbers(targets=targets, kind=kind)
    data = read_data(dataset)
    assert data.labels == ("two", "none", "one", "two")
    assert dataset.made == (0 if targets else 4), "with targets, no picture is made to know the labels"
    for _ in range(2):  # an item can be read again
        assert [load_image(source).getpixel((5, 4)) for source in data.sources] == [(10 * i,) * 3 for i in range(4)]
    assert describe(data.sources[1]) == "<item 1 of the data set>"
    batch = next(vk.Batches(data.sources, vk.Preprocess(size_wh=(4, 4)), device="cpu"))
    assert len(batch) == 4


@pytest.mark.parametrize("joint", [False, True])
def test_labels_are_those_that_a_torch_data_set_gives(joint):
    """What changes its targets on the way, of whatever kind, is asked itself."""

    class Changed(torchvision.datasets.VisionDataset):
        targets = (0, 1, 2, 1)

        def __len__(self):
            return 4

        def __getitem__(self, index):
            picture, target = np.full((5, 6, 3), index, np.uint8), self.targets[index]
            return self.transforms(picture, target) if self.transforms else (picture, target)

    name = ("even", "odd", "even").__getitem__
    both = {"transforms": lambda picture, target: (picture, name(target))}
    data = read_data(Changed("nowhere", **(both if joint else {"target_transform": name})))
    assert data.labels == ("even", "odd", "even", "odd")


def test_torchvision_image_folder(tmp_path):
    write(tmp_path, "a/1.png", "b/2.png")
    data = read_data(torchvision.datasets.ImageFolder(str(tmp_path)))
    assert data.labels == ("a", "b")
    assert load_image(data.sources[1]).getpixel((0, 0)) == (1, 1, 1)


def test_an_item_is_read_by_threads_one_after_another():
    inside = threading.Semaphore()

    class Slow(Numbers):
        def __getitem__(self, index):
            assert inside.acquire(blocking=False), "two at once"
            time.sleep(0.01)
            inside.release()
            return super().__getitem__(index)

    batch = next(vk.Batches(read_data(Slow()).sources * 4, vk.Preprocess(size_wh=(4, 4)), device="cpu", workers=4))
    assert len(batch) == 16


def test_a_hugging_face_data_set(tmp_path):
    import datasets

    write(tmp_path, "a.png", "b.png", "c.png", "d.png")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y"])})
    rows = {"image": [str(tmp_path / f"{n}.png") for n in "abcd"], "label": [0, 1, 1, 0]}
    dataset = datasets.Dataset.from_dict(rows, features=features)
    data = read_data(dataset)
    assert data.labels == ("x", "y", "y", "x")
    assert [load_image(source).getpixel((0, 0))[0] for source in data.sources * 2] == [0, 1, 2, 3] * 2
    whole = datasets.DatasetDict({"train": dataset, "validation": dataset.select([2])})
    learn, check = split(read_data(whole), 0.25, 0)
    assert learn.labels == ("x", "y", "y", "x")
    assert check.labels == ("y",)
    assert load_image(check.sources[0]).getpixel((0, 0))[0] == 2
    with pytest.raises(InputError, match="a streamed data set has no length"):
        read_data(dataset.to_iterable_dataset())
    with pytest.raises(InputError, match=r"no column 'label', but image, kind: rename one, data.rename_column"):
        read_data(dataset.rename_column("label", "kind"))


def test_split_is_stratified_and_the_same_for_a_seed():
    data = read_data([(bytes([i]), "ab"[i % 4 == 0]) for i in range(80)])
    learn, check = split(data, 0.25, 3)
    assert sorted(check.labels).count("b") == 5
    assert len(check) == 20
    assert split(data, 0.25, 3)[1] == check
    assert split(data, 0.25, 4)[1] != check
    assert set(learn.sources) | set(check.sources) == set(data.sources)


def test_split_of_several_labels_has_the_rare_ones_on_both_sides():
    pairs = [(bytes([i]), ["common"]) for i in range(60)]
    pairs += [(bytes([100 + i]), ["common", "rare"]) for i in range(4)] + [(bytes([200 + i]), []) for i in range(4)]
    data = read_data(pairs)
    for seed in range(5):
        learn, check = split(data, 0.25, seed)
        assert sum("rare" in names for names in check.labels) == 1
        assert sum("rare" in names for names in learn.labels) == 3
        assert len(check) == 17
        assert set(learn.sources) | set(check.sources) == set(data.sources)
        assert split(data, 0.25, seed)[1] == check


@pytest.mark.parametrize("seed", range(4))
def test_split_of_several_labels_leaves_none_out(seed):
    """Pairs of pictures that share a label which is not the rarest of either: both may be set aside at first."""
    pairs = []
    for group in range(8):
        pairs += [(bytes([group, i]), [f"rare {group} {i}", f"shared {group}"]) for i in (0, 1)]
        pairs += [(bytes([group, i + 2]), [f"rare {group} {i}"]) for i in (0, 1)]
    data = read_data(pairs)
    learn, check = split(data, 0.5, seed)
    assert learn.classes == data.classes
    assert check.classes == data.classes
    assert sorted([*learn.sources, *check.sources]) == sorted(data.sources)
    twins = read_data([(bytes([i]), ["a", "b", f"with {i // 2}"]) for i in range(4)])
    assert split(twins, 0.5, seed)[0].classes == twins.classes


@pytest.mark.parametrize("label", [" cat", "<script>alert(1)</script>", "猫\u202e", 'a"b\nc', "$x$"])
def test_odd_names_stay_as_they_are(label):
    assert read_data([(png(0), label), (png(1), "cat")]).classes == tuple(sorted((label, "cat")))


def test_odd_file_names(tmp_path):
    write(tmp_path, 'a/new\nline "quoted".png', "b/'x';.png", "b/-rf.png", "a/%2e.png")
    data = read_data(tmp_path)
    assert len(data) == 4
    assert all(load_image(source).size == (4, 4) for source in data.sources)
    assert "\n" not in describe(data.sources[1])


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([], TrainingError, "there are no pictures to learn from"),
        ([(b"x", "a"), (b"y", "a")], TrainingError, "there is one class only, 'a'"),
        ([(b"x", [])], TrainingError, "no picture has a label"),
        (
            [(b"x", "a"), (b"y", ["b"])],
            InputError,
            r"the label of data\[1\] is \['b'\]: either every picture has a list",
        ),
        ([(b"x", ["a", "a"])], InputError, "label 'a' is given twice"),
        ([(b"x", ["a", 3])], InputError, r"the label of data\[0\] is 3: labels are names"),
        ([(b"x", {"a", 3})], InputError, r"the label of data\[0\] is 3: labels are names"),
        ([(b"x", frozenset("ab")), (b"y", "b")], InputError, r"data\[1\] is 'b': either every picture has a list"),
        ([(b"x", "  ")], InputError, r"the label of data\[0\] is '  '"),
        ([("a.png", "b", "c")], InputError, r"data\[0\] is no pair of an image and its label"),
        ([(3, "b")], InputError, r"data\[0\] is no pair of an image and its label"),
        ({"train": [], "rest": []}, InputError, "the data has a part 'rest'; the parts are 'train', 'val' and 'test'"),
        ({"train": [(b"x", "a")], "val": [(b"x", ["a"])]}, InputError, "the parts of the data differ"),
        (iter(()), TrainingError, "there are no pictures"),
        (3, InputError, "data must be a folder or pairs of image and label, not int"),
        ("nowhere", SourceError, "cannot search nowhere: no such folder"),
        ("nowhere.csv", SourceError, "cannot read nowhere.csv: No such file"),
    ],
)
def test_bad_data(data, error, message):
    with pytest.raises(error, match=message):
        read_data(data)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "d.csv",
            b"file,label\na,b\n",
            r"d.csv has no column 'image': it needs image and label, .* it has file, label",
        ),
        ("d.csv", b"", "has no column 'image'.* it has none"),
        ("d.csv", b'image,label\n"a,b\n', "is no CSV table"),
        ("d.csv", b"image,label\n,b\n", "line 2 of .*d.csv has no image: ''"),
        ("d.csv", b"image,label\na,\n", "the label of line 2 of .*d.csv is '': labels are names"),
        ("d.csv", b"image,label\na\n", "the label of line 2 of .*d.csv is None"),
        ("d.csv", b"image,label,split\na,b,holdout\n", "the split of line 2 of .*d.csv is 'holdout'"),
        ("d.csv", b"image,label\n\xff\xfe,b\n", "is not in UTF-8"),
        ("d.csv", b'\n\nimage,label\n\n"a\nb",x\n\n\nc,\n', "the label of line 9 of .*d.csv is ''"),
        (
            "d.csv",
            b'image,label\na,"[""x""]"\nb,y\n',
            r"the label of line 3 of .*d.csv is 'y': either every picture has a list of labels, or none",
        ),
        ("d.csv", b"image,label\na,x\nb,[]\n", r"the label of line 3 of .*d.csv is \[\]: either every picture"),
        ("d.jsonl", b'\n\n{"image": "a", "label": ""}', "the label of line 3 of .*d.jsonl is ''"),
        ("d.jsonl", b"{", "line 1 of .*d.jsonl is no JSON"),
        ("d.jsonl", b"[]", "line 1 of .*d.jsonl is no JSON object"),
        ("d.jsonl", b'{"image": "a"}', "line 1 of .*d.jsonl has no column 'label'"),
        ("d.jsonl", b'{"image": "a", "label": 3}', "the label of line 1 of .*d.jsonl is 3: labels are names"),
        ("d.parquet", b"PAR1", "is no Parquet file, or a damaged one"),
    ],
)
def test_bad_tables(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_data(tmp_path / name)


def test_a_table_name_with_braces(tmp_path):
    (tmp_path / "{0}{x}.csv").write_text("image,label\na,\n")
    with pytest.raises(InputError, match=r"line 2 of .*\{0\}\{x\}.csv is ''"):
        read_data(tmp_path / "{0}{x}.csv")


@pytest.mark.parametrize(
    ("labels", "fraction", "error", "message"),
    [
        ("aab", 0.25, TrainingError, "the class 'b' has one picture; two at least"),
        ("aabb", 0.1, TrainingError, "4 pictures of 2 classes are too few to set 10% aside"),
        ("aabb", 1.5, InputError, "validation=1.5 must be a fraction"),
    ],
)
def test_bad_splits(labels, fraction, error, message):
    with pytest.raises(error, match=message):
        split(read_data([(bytes([i]), label) for i, label in enumerate(labels)]), fraction, 0)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"val": [(b"x", "a"), (b"y", "b")]}, "the data has the parts val, but none to train on"),
        ({"train": [(b"x", "a")], "val": [(b"y", "b")]}, "the part to train on has one class only, 'a'"),
        ({"train": [(b"x", "a"), (b"y", "b")], "val": [(b"z", "c")]}, "the validation data has the class 'c'"),
    ],
)
def test_bad_parts(parts, message):
    with pytest.raises(TrainingError, match=message):
        split(read_data(parts), 0.25, 0)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (
            type("Streamed", (torch.utils.data.IterableDataset,), {"__iter__": lambda _: iter(())})(),
            "has no length: only map-style",
        ),
        (torch.utils.data.TensorDataset(torch.zeros(2, 3, 4, 4)), "item 0 of the data set is no pair"),
        (
            torch.utils.data.TensorDataset(torch.zeros(2, 3, 4, 4), torch.tensor([0, 1])),
            "the label of item 0 of the data set is 0, a number without a name",
        ),
    ],
)
def test_bad_torch_data_sets(dataset, message):
    with pytest.raises(InputError, match=message):
        read_data(dataset)


def test_a_number_beyond_the_classes():
    dataset = Numbers()
    dataset.classes = ("none", "one")
    with pytest.raises(InputError, match="is 2, but there are 2 classes"):
        read_data(dataset)


def test_an_item_that_breaks_is_a_failure_of_its_own(tmp_path):
    item = Item(lambda: b"no picture", "<item 0 of the data set>", content=True)
    batch = next(vk.Batches([item], vk.Preprocess(size_wh=(4, 4)), device="cpu", on_error="return"))
    assert "<item 0 of the data set>" in str(batch.failures[0].error)


def test_ten_thousand_classes_and_files_without_decoding(tmp_path):
    """2 files for each of 10,000 classes."""
    picture = png(0)
    for name in range(10_000):
        (tmp_path / f"class {name}").mkdir()
        for number in (0, 1):
            (tmp_path / f"class {name}" / f"{number}.png").write_bytes(picture)
    started = time.process_time()
    learn, check = split(read_data(tmp_path), 0.5, 0)
    seconds = time.process_time() - started
    print(f"20,000 files of 10,000 classes read and split in {seconds:.1f} CPU-s")
    assert len(learn.classes) == len(check.classes) == 10_000
    assert seconds < 10


def test_validation_data_of_its_own_beside_parts():
    parts = {"train": [(png(0), "a"), (png(1), "b")], "test": [(png(2), "a")]}
    learn, check = split_data(parts, [(png(3), "b")], 0)
    assert (learn.labels, check.labels) == (("a", "b"), ("b",))
    with pytest.raises(TrainingError, match="the data has no part to train on"):
        split_data({"val": parts["train"]}, [(png(3), "b")], 0)
    with pytest.raises(TrainingError, match="only one has lists of labels"):
        split_data(parts, [(png(3), ["b"])], 0)
