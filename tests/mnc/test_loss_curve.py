"""The picture of a training run's losses."""

import cv2
import numpy as np

from mnc.drawing.losses import draw_losses, read_losses


def test_losses_are_drawn(tmp_path):
    path = tmp_path / "run_losses.csv"
    path.write_text("iteration,accuracy,loss_mask,loss_mask_ext,rpn_cls_loss\n"
                    "20,0.5,0.7,0.8,0.4\n40,0.6,0.5,0.6,0.2\n")
    assert np.array_equal(read_losses(path)["loss_mask"], [0.7, 0.5])
    picture = cv2.imread(str(draw_losses(path, tmp_path / "run.png")))
    assert picture.std() > 5                    # lines, not an empty sheet


def test_a_run_that_ended_before_the_first_row_is_an_empty_picture(tmp_path):
    path = tmp_path / "run_losses.csv"
    path.write_text("iteration,loss_mask\n")
    assert draw_losses(path, tmp_path / "run.png").exists()


def test_a_net_without_a_column_of_losses_is_an_empty_picture(tmp_path):
    path = tmp_path / "run_losses.csv"
    path.write_text("iteration,accuracy\n20,0.5\n")
    assert draw_losses(path, tmp_path / "run.png").exists()
