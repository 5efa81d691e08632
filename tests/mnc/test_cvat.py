"""CVAT's XML for images 1.1 and for video 1.1."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest

from mnc.data import DataError, get_dataset, problems

META = """<meta><task><id>5</id><name>n</name><mode>annotation</mode><labels>
  <label><name>kite</name><color>#33ddff</color><type>any</type><attributes></attributes></label>
  <label><name>boat &amp; "oar" 猫</name><color>#fa3253</color><attributes></attributes></label>
</labels></task><dumped>2024-01-01</dumped></meta>"""
BOAT = "boat &amp; &quot;oar&quot; 猫"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images/sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png"):
        cv2.imwrite(str(tmp_path / "images" / name), np.full((20, 30, 3), 80, np.uint8))
    return tmp_path


def save(folder, body, meta=META):
    (folder / "annotations.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>{meta}{body}'
        "</annotations>", encoding="utf-8")
    return f"cvat:{folder / 'annotations.xml'}:{folder / 'images'}"


def image(body, name="a.png", size=(20, 30)):
    return f'<image id="0" name="{name}" width="{size[1]}" height="{size[0]}">{body}</image>'


def test_every_kind_of_shape(folder):
    dataset = get_dataset(save(folder, image(
        f'<polygon label="{BOAT}" source="manual" occluded="0" points="2.00,3.00;8.00,3.00;8.00,7.00;2.00,7.00" z_order="0"></polygon>'
        '<box label="kite" occluded="1" xtl="12.0" ytl="5.0" xbr="20.0" ybr="9.0"><attribute name="a">b</attribute></box>'
        '<ellipse label="kite" cx="10" cy="14" rx="4" ry="2" rotation="90.0"/>'
        '<mask label="kite" occluded="0" rle="1, 2, 2, 1" left="5" top="7" width="3" height="2" z_order="0"></mask>'
        '<box label="kite" xtl="20" ytl="8" xbr="28" ybr="12" rotation="90"/>'
        '<tag label="kite"/>') + image("", "sub/b.png")))
    assert dataset.classes == ("__background__", "kite", 'boat & "oar" 猫')
    assert dataset.names == ["a", "sub/b"] and not problems(dataset)
    found = dataset.annotation(0)
    assert found.labels.tolist() == [2, 1, 1, 1, 1]
    assert found.boxes.astype(int).tolist() == [[2, 3, 7, 6], [12, 5, 19, 8], [8, 10, 11, 17],
                                                [6, 7, 7, 8], [22, 6, 25, 13]]
    assert found.masks[3].tolist() == [[True, True], [False, True]]
    assert len(dataset.annotation(1).labels) == 0


def test_a_group_is_one_instance(folder):
    part = '<box label="kite" xtl="{}" ytl="2" xbr="{}" ybr="6" group_id="{}"/>'
    dataset = get_dataset(save(folder, image(
        part.format(2, 6, 4) + part.format(10, 14, 4) + part.format(20, 24, 0)
        + '<mask label="kite" rle="0, 4" left="16" top="2" width="2" height="2" group_id="4"/>')))
    assert dataset.annotation(0).boxes.tolist() == [[2, 2, 17, 5], [20, 2, 23, 5]]
    assert dataset.annotation(0).masks[0].sum() == 36


def test_what_cannot_be_used_is_counted(folder, caplog):
    name = save(folder, image(
        '<polyline label="kite" points="1,2;3,4"/><points label="kite" points="1,2"/>'
        '<polygon label="kite" points="1,2;3"/><mask label="kite" rle="1,2" left="1" top="1" width="5" height="5"/>'
        '<mask label="kite" rle="-1,26" left="1" top="1" width="5" height="5"/><box label="kite"/>'
        '<polygon label="kite" points="1,2;3,9"/><box label="fox" xtl="1" ytl="1" xbr="5" ybr="5"/>'
        '<box label="kite" xtl="1" ytl="1" xbr="5" ybr="5"/>') + image("", "gone.png")
        + image("", "sub/b.png", (99, 9)))
    with caplog.at_level(logging.WARNING):
        dataset = get_dataset(name)
    assert dataset.names == ["a"] and len(dataset.annotation(0).labels) == 1
    assert len(caplog.records) == 1
    for part in ("10 annotations", "2 lines and points", "4 shapes that are damaged", "a.png: mask 4",
                 "1 with polygons of fewer", 'box 8 "fox"', "gone.png", "30 x 20, annotated 9 x 99"):
        assert part in caplog.text, part


def test_masks_that_reach_out_are_cut(folder):
    dataset = get_dataset(save(folder, image(
        '<mask label="kite" rle="0, 16" left="-2" top="18" width="4" height="4"/>')))
    assert dataset.annotation(0).boxes.tolist() == [[0, 18, 1, 19]]


VIDEO = """<meta><task><name>n</name><size>5</size><mode>interpolation</mode>
  <start_frame>{}</start_frame><stop_frame>{}</stop_frame><labels><label><name>kite</name></label>
  <label><name>boat</name></label></labels>
  <original_size><width>30</width><height>20</height></original_size></task></meta>"""
BOX = '<box frame="{}" outside="{}" occluded="0" keyframe="{}" xtl="{}" ytl="2" xbr="{}" ybr="6" z_order="0"/>'


@pytest.fixture
def frames(folder):
    """Five of them, 0 to 4."""
    for k in range(5):
        cv2.imwrite(str(folder / f"images/frame_{k:06d}.png"), np.full((20, 30, 3), k, np.uint8))
    return folder


def boxes(*rows):
    return "".join(BOX.format(frame, outside, key, x, x + 4) for frame, outside, key, x in rows)


def track(label, body, more=""):
    return f'<track id="0" label="{label}" source="manual"{more}>{body}</track>'


def test_tracks_of_a_video(frames, caplog):
    walking = boxes((0, 0, 1, 2), (1, 0, 0, 3), (2, 0, 1, 4), (3, 1, 1, 4))
    drawn = '<polygon frame="1" outside="0" keyframe="1" points="10,3;18,3;18,7;10,7"/>' \
            '<polygon frame="2" outside="1" keyframe="1" points="10,3;18,3;18,7;10,7"/>'
    line = '<polyline frame="0" outside="0" keyframe="1" points="1,1;5,5"/>' \
           '<polyline frame="1" outside="1" keyframe="1" points="1,1;5,5"/>'
    dataset = get_dataset(save(frames, track("kite", walking) + track("boat", drawn)
                               + track("kite", line), VIDEO.format(0, 4)))
    assert dataset.names == [f"frame_{k:06d}" for k in range(5)]
    assert dataset.classes[1:] == ("kite", "boat")
    found = [dataset.annotation(k) for k in range(5)]
    assert [each.labels.tolist() for each in found] == [[1], [1, 2], [1], [], []]
    assert found[1].boxes.tolist() == [[3, 2, 6, 5], [10, 3, 17, 6]]
    assert "1 lines and points, which have no inside (frame_000000.png: polyline 2)" in caplog.text
    assert "frames between" not in caplog.text and "frames that are not" not in caplog.text


def test_frames_that_were_not_looked_at_are_left_out(frames, caplog):
    between = boxes((0, 0, 1, 2), (2, 0, 1, 4), (3, 1, 1, 4), (9, 0, 1, 4), (10**12, 1, 1, 4))
    name = save(frames, track("kite", between), VIDEO.format(0, 3))
    with caplog.at_level(logging.WARNING):
        assert get_dataset(name).names == [f"frame_{k:06d}" for k in (0, 2, 3)]
    for part in ("1 frames between key frames", "(frame_000001.png)", "(frame 9)"):
        assert part in caplog.text, part
    open_end = save(frames, track("kite", boxes((1, 0, 1, 2), (2, 0, 0, 2))), VIDEO.format(1, 4))
    assert get_dataset(open_end).names == ["frame_000001", "frame_000002"]


def test_a_group_of_tracks_is_one_instance(frames):
    parts = [track("kite", boxes((0, 0, 1, x), (1, 1, 1, x)), ' group_id="7"') for x in (2, 10)]
    dataset = get_dataset(save(frames, "".join(parts), VIDEO.format(0, 4)))
    assert dataset.annotation(0).boxes.tolist() == [[2, 2, 13, 5]]
    with pytest.raises(DataError, match="write cvat:.*annotations.xml"):
        get_dataset(str(frames / "annotations.xml"))


def test_tracks_without_their_frames(folder):
    name = save(folder, track("kite", boxes((0, 0, 1, 2))), VIDEO.format(0, 4))
    with pytest.raises(DataError, match="not in .*images as frame_000000.png, …; export the task"):
        get_dataset(name)


def test_tracks_of_several_tasks(frames):
    both = "".join(track("kite", boxes((0, 0, 1, 2)), f' task_id="{k}"') for k in (3, 4))
    with pytest.raises(DataError, match="tracks of several tasks"):
        get_dataset(save(frames, both, VIDEO.format(0, 4)))


@pytest.mark.parametrize("body, message", [
    ("", "no <image> or <track> in <annotations>"), ("<", "not readable XML")])
def test_other_files_are_refused_in_words(folder, body, message):
    with pytest.raises(DataError, match=message):
        get_dataset(save(folder, body))
