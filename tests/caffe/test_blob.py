"""Blobs: live numpy views, adopted tensors, shared memory."""

import numpy as np
import pytest
import torch

from caffe.engine.blob import Blob
from caffe.engine.errors import CaffeError


def test_data_is_a_live_writable_view():
    blob = Blob((2, 3))
    view = blob.data
    view[1, 2] = 7
    assert blob.tensor[1, 2] == 7
    blob.tensor = torch.arange(6.0).reshape(2, 3)
    assert np.array_equal(view, [[0, 1, 2], [3, 4, 5]])     # the view taken before is current


def test_untouched_blob_adopts_without_a_copy():
    blob, value = Blob((5,)), torch.ones(5)
    blob.tensor = value
    assert blob.tensor.data_ptr() == value.data_ptr()


def test_a_users_view_is_never_the_tensor_that_was_adopted():
    blob, value = Blob((5,)), torch.ones(5)
    blob.tensor = value
    blob.data[...] = 3
    assert torch.equal(value, torch.ones(5))        # autograd may have saved it


def test_reshape_keeps_content_while_the_count_stays():
    blob = Blob((2, 3))
    blob.data[...] = 4
    blob.reshape(3, 2)
    assert blob.data.shape == (3, 2) and (blob.data == 4).all()
    blob.reshape(7)
    assert (blob.data == 0).all()


def test_adopting_takes_the_shape_and_keeps_dtype():
    blob = Blob((1,))
    blob.tensor = torch.arange(6).reshape(3, 2)
    assert blob.shape == (3, 2) and blob.tensor.dtype == torch.float32


def test_channels_last_tensor_reads_right_through_numpy():
    blob, value = Blob(), torch.randn(2, 3, 5, 7)
    blob.tensor = value.contiguous(memory_format=torch.channels_last)
    assert np.array_equal(blob.data, value.numpy())


def test_shared_blobs_have_one_memory_and_two_shapes():
    a, b = Blob((2, 3)), Blob((6,))
    b.share_data(a)
    a.data[0, 1] = 5
    assert b.data[1] == 5
    b.tensor = torch.arange(6.0)
    assert a.data[1, 0] == 3


def test_legacy_axes_count_one_where_absent():
    blob = Blob((2, 3))
    assert (blob.num, blob.channels, blob.height, blob.width, blob.count) == (2, 3, 1, 1, 6)
    with pytest.raises(ValueError, match="at most 4 axes"):
        Blob((1, 1, 1, 1, 1)).num


def test_negative_dimension_is_refused():
    with pytest.raises(ValueError, match=r"shape \(2, -1\)"):
        Blob().reshape(2, -1)


def test_diff_reads_zero_until_written():
    blob = Blob((3,))
    assert not blob.has_diff
    assert (blob.diff == 0).all()
    blob.diff_tensor = torch.ones(3)
    assert (blob.diff == 1).all()


def test_what_is_written_to_a_tensor_arrives_whatever_the_layout_and_shape():
    flat, blob = Blob((2, 12)), Blob((2, 3, 2, 2))
    flat.share_data(blob)
    blob.tensor = torch.randn(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    flat.tensor.fill_(3)
    assert (blob.data == 3).all()


def test_another_size_ends_the_duty_to_a_view():
    blob = Blob((2, 3))
    blob.data[...] = 4
    blob.reshape(5)
    assert not blob.touched
    value = torch.ones(5)
    blob.tensor = value
    assert blob.tensor.data_ptr() == value.data_ptr()


def test_a_shape_that_its_memory_has_outgrown_is_named():
    blob, flat = Blob((2, 3)), Blob((6,))
    flat.share_data(blob)
    blob.reshape(5, 3)
    for read in (lambda: flat.data, lambda: flat.tensor):
        with pytest.raises(CaffeError, match=r"shape \(6,\).*\(5, 3\); call net.reshape"):
            read()


def test_an_adopted_tensor_comes_to_the_blobs_device():
    blob = Blob((2,), device="meta")
    blob.tensor = torch.ones(2, dtype=torch.float64)
    assert blob.tensor.device.type == "meta" and blob.tensor.dtype == torch.float32


@pytest.mark.parametrize("shape", [(3, 2, 5, 4), (3, 1, 5, 4)])
def test_a_blob_in_channels_last_shows_users_caffes_order(shape):
    _, c, h, w = shape
    pixelwise = (h * w * c, 1, w * c, c)
    blob, value = Blob(shape), torch.arange(60.0 * c).reshape(shape)
    blob.tensor = value
    blob.order_channels_last()
    assert blob.tensor.stride() == pixelwise and torch.equal(blob.tensor, value)
    blob.add_diff(value)
    assert blob.diff_tensor.stride() == pixelwise and torch.equal(blob.diff_tensor, value)
    blob.clear_diff()
    assert blob.overwrite_diff().stride() == pixelwise
    blob.tensor.mul_(2)             # as an update does
    assert np.array_equal(blob.data, 2 * value.numpy()) and blob.data.flags.c_contiguous
    blob.data[0, 0, 1, 2] = -1
    assert blob.tensor[0, 0, 1, 2] == -1
    assert Blob(shape).tensor.stride() != pixelwise


def test_less_precision_stays_until_somebody_reads_it():
    blob, value = Blob((2, 3)), torch.randn(2, 3).bfloat16()
    blob.tensor = value
    assert blob.tensor_as_made is value and blob.dtype == torch.float32
    assert torch.equal(blob.tensor, value.float()) and blob.tensor is blob.tensor_as_made
    blob.tensor = value
    assert blob.data.dtype == np.float32 and np.array_equal(blob.data, value.float().numpy())
    blob.tensor = 2 * value
    assert blob.tensor_as_made.dtype == torch.float32       # a user's view is what it is
    assert np.array_equal(blob.data, 2 * value.float().numpy())


def test_less_precision_under_another_shape_and_order():
    blob, value = Blob((2, 3)), torch.randn(2, 3).bfloat16()
    blob.tensor = value
    blob.reshape(3, 2)
    assert torch.equal(blob.tensor_as_made, value.float().view(3, 2))
    filters = Blob((2, 3, 4, 5))
    filters.order_channels_last()
    filters.diff_tensor = torch.randn(2, 3, 4, 5).bfloat16()
    assert filters.diff_tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("first", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("touched", [False, True])
def test_gradients_of_less_precision_are_added_in_the_blobs_own(first, touched, monkeypatch):
    monkeypatch.setattr("caffe.engine.memory_order.PIECE", 4)
    blob = Blob((3, 5))
    if touched:
        blob.diff[...] = 0
    parts = [torch.randn(3, 5).to(first), *torch.randn(2, 3, 5).bfloat16()]
    wanted = parts[0].float() + parts[1].float() + parts[2].float()
    for part in parts:
        blob.add_diff(part)
    assert torch.equal(blob.diff_tensor, wanted)
    blob.diff_tensor = parts[1]
    assert blob.overwrite_diff().dtype == torch.float32
    blob.diff_tensor = parts[1]
    blob.clear_diff()
    assert torch.equal(blob.diff_tensor, torch.zeros(3, 5))
