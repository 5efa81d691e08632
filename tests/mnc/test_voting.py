import numpy as np
import pytest

from golden_mnc import load
from mnc.instances import Raw
from mnc.masks.rendering import pasted, render, resize
from mnc.masks.voting import Voting, find_candidates, vote_masks, vote_masks_cpu

pytestmark = pytest.mark.usefixtures("served_by")



def vote_exact(raw, size):
    return vote_masks(raw, size, Voting(exact=True))


FORMS = pytest.mark.parametrize("vote", [vote_masks, vote_masks_cpu, vote_exact])


@pytest.mark.parametrize("vote, form", [(vote_masks, "gpu"), (vote_masks_cpu, "cpu")])
@pytest.mark.parametrize("name", ["mask_voting_small", "mask_voting_medium", "mask_voting_limited"])
def test_against_the_public_code(name, vote, form):
    golden = load(name)
    classes, most, height, width = (int(golden[k]) for k in ("num_classes", "max_per_image",
                                                             "im_height", "im_width"))
    raw = Raw(golden["boxes"], golden["masks"], golden["scores"][:, :classes])
    found = vote(raw, (height, width), Voting(most=most))
    assert len(found) == classes and not len(found[0].boxes) and not len(found[0].masks)
    for c in range(1, classes):
        assert np.array_equal(found[c].boxes, golden[f"{form}_box_{c}"])
        assert np.abs(found[c].masks - golden[f"{form}_mask_{c}"][:, 0]).max() < 1e-5


def four_boxes():
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29], [0, 0, 9, 9]], np.float32)
    scores = np.array([[0, .5, 0], [0, .9, .1], [0, .2, .8], [0, .4, 0]], np.float32)
    return boxes, scores


def test_candidates_by_hand():
    boxes, scores = four_boxes()
    found = find_candidates(boxes, scores, Voting())
    assert found.classes.tolist() == [1, 1, 2, 2]
    assert found.scores.tolist() == np.float32([.9, .2, .8, .1]).tolist()
    assert found.members.tolist() == [0, 1, 3, 2, 2, 0, 1, 3]
    assert found.ends.tolist() == [3, 4, 5, 8]
    assert np.allclose(found.weights, [5 / 18, .5, 4 / 18, 1, 1, 0, 1, 0])


def test_only_the_best_of_all_classes_stay():
    boxes, scores = four_boxes()
    found = find_candidates(boxes, scores, Voting(most=2))
    assert found.classes.tolist() == [1, 2]
    assert found.scores.tolist() == np.float32([.9, .8]).tolist()


@FORMS
def test_a_single_full_mask_keeps_its_box(vote):
    box = np.array([[3, 4, 23, 24]], np.float32)
    scores = np.array([[0, 0.7]], np.float32)
    boxes, masks = vote(Raw(box, np.ones((1, 21, 21), np.float32), scores), (30, 40))[1]
    assert np.allclose(boxes, [[3, 4, 23, 24, 0.7]]) and np.allclose(masks, 1)


@FORMS
def test_masks_below_the_threshold_give_the_middle_of_the_image(vote):
    found = vote(Raw(np.array([[3, 4, 23, 24]], np.float32), np.zeros((1, 21, 21), np.float32),
                     np.array([[0, 0.7]], np.float32)), (31, 40))
    assert np.allclose(found[1].boxes, [[20, 15, 20, 15, 0.7]])


@FORMS
def test_no_score_no_weight(vote):
    boxes, _ = four_boxes()
    masks, scores = np.ones((4, 21, 21), np.float32), np.zeros((4, 2), np.float32)
    found = vote(Raw(boxes, masks, scores), (30, 40))
    assert np.isfinite(found[1][0]).all() and np.isfinite(found[1][1]).all()


@FORMS
def test_nothing_to_vote_on(vote):
    found = vote(Raw(np.zeros((0, 4), np.float32), np.zeros((0, 21, 21), np.float32),
                     np.zeros((0, 3), np.float32)), (30, 40))
    assert [(b.shape, m.shape) for b, m in found] == [((0, 5), (0, 21, 21))] * 3


def test_the_cpu_form_cuts_boxes_at_the_border():
    found = vote_masks_cpu(Raw(np.array([[-5, -5, 4, 4], [35, 25, 60, 60]], np.float32),
                               np.ones((2, 21, 21), np.float32),
                               np.array([[0, 0.7], [0, 0.6]], np.float32)), (30, 40))
    assert found[1].boxes[:, :4].tolist() == [[0, 0, 4, 4], [35, 25, 39, 29]]


def discs(count, side):
    """Discs, fine and as their truth, (H, W) each, and boxes around them with masks."""
    random = np.random.default_rng(8)
    rows, columns = np.mgrid[:400, :400] / 10 + 0.05
    for _ in range(count):
        x, y = random.uniform(15, 25, 2)
        radius = random.uniform(5, 12)
        box = np.array([x - radius, y - radius, x + radius - 1, y + radius - 1])
        box += random.uniform(-1.5, 1.5, 4)
        inside = np.hypot(columns - x, rows - y) < radius
        u, v = (np.linspace(first, last, side * 10 + 1)[:-1] + (last - first) / side / 20
                for first, last in ((box[0], box[2] + 1), (box[1], box[3] + 1)))
        fine = np.hypot(u[None] - x, v[:, None] - y) < radius
        mask = fine.reshape(side, 10, side, 10).mean((1, 3))
        yield resize(inside, 40, 40) > 0.5, box, mask


def test_exact_voting_leaves_masks_where_they_are():
    shifts = {True: [], False: []}
    for truth, box, mask in discs(20, 21):
        raw = Raw(box[None].astype(np.float32), mask[None].astype(np.float32),
                  np.array([[0, 0.7]], np.float32))
        for exact, of_form in shifts.items():
            found = vote_masks(raw, truth.shape, Voting(binarize=0.5, exact=exact))[1]
            (place,), (drawn,) = render(found.boxes, found.masks, 0.5)
            drawn = pasted(place, drawn, truth.shape)
            overlap = (drawn & truth).sum() / (drawn | truth).sum()
            centres = [np.mean(np.nonzero(each), axis=1) for each in (drawn, truth)]
            of_form.append([*(centres[0] - centres[1]), overlap])
    exact, reference = np.mean(shifts[True], axis=0), np.mean(shifts[False], axis=0)
    assert np.abs(exact[:2]).max() < 0.05 and exact[2] > 0.95
    assert exact[2] > reference[2]
