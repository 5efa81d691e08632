"""MultiBoxLoss: what an SSD learns from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, LossLayer, exactly
from caffe.layer_types.loss import floored, normalization_of
from caffe.layer_types.ssd import matching
from caffe.layer_types.ssd.boxes import decode, encode, unpack_priors
from caffe.ops import Mode

LEAST_LOG = math.log(torch.finfo(torch.float32).tiny)


@dataclass(frozen=True)
class Chosen:
    """What a batch is trained on: M matched codes and K priors as background."""

    matched: Tensor         # (3, M): image, prior, slot of the code
    boxes: Tensor           # (M, 4)
    labels: Tensor          # (M,)
    background: Tensor      # (2, K): image, prior


@LAYERS.register("MultiBoxLoss")
class MultiBoxLoss(LossLayer):
    """(loc_weight * loss of codes + loss of classes) / normalizer, in VALID the number of matches

    bottom: codes (N, 4P, or 4P num_classes unless share_location), scores (N, P num_classes),
    priors (1, 2, 4P), truth (1, 1, G, 8): image, label, instance, box, difficult.
    Codes: sum of smooth L1, or L2 / 2, over matches. Classes: sum of softmax or sigmoid cross
    entropies, over matches and the background that mining_type chooses: MAX_NEGATIVE,
    neg_pos_ratio with the largest losses for each match of the image; HARD_EXAMPLE, sample_size of
    an image with the largest losses, matched or not; NONE, all. `matching` says who is matched.
    mode REFERENCE: encode_variance_in_target leaves 1 / variance out of the gradient; LOGISTIC
    without mining has the targets of images behind the first where SSD puts them.
    """

    num_bottom = exactly(4)
    num_top = exactly(1)
    no_gradient = ()        # priors and truth get none; old nets do not always say so

    def setup(self, bottom, top):
        self.options = options = self.param.multibox_loss_param
        self.classes = options.num_classes
        self.background = int(np.uint32(options.background_label_id).astype(np.int32))
        self.slots = 1 if options.share_location else self.classes
        self.mines = options.mining_type != options.NONE
        self.mode = normalization_of(self.param.loss_param, self.param.loss_param.VALID)
        self.parts = [*self.param.propagate_down, True, True][:2]
        self._check_options(options)

    def _check_options(self, options) -> None:
        wrong = None
        softmax = options.conf_loss_type == options.SOFTMAX
        if not self.classes:
            wrong = "num_classes is missing"
        elif options.HasField("do_neg_mining") and options.do_neg_mining != self.mines:
            wrong = "do_neg_mining contradicts mining_type; leave it out"
        elif self.mines and not options.share_location:
            wrong = "mining needs share_location; set mining_type: NONE"
        elif softmax and not 0 <= self.background < self.classes:
            wrong = f"SOFTMAX needs background_label_id in [0, {self.classes})"
        elif options.map_object_to_agnostic and self.classes != 1 + (self.background >= 0):
            wrong = f"map_object_to_agnostic needs num_classes {1 + (self.background >= 0)}"
        if wrong:
            raise LayerError(f"{self.title}: multibox_loss_param: {wrong}")

    def check(self, *shapes):
        codes, scores, prior, truth = shapes
        count = math.prod(prior) // 8
        fits = (codes[:1] == scores[:1] and math.prod(truth) % 8 == 0
                and math.prod(codes[1:]) == count * 4 * self.slots
                and math.prod(scores[1:]) == count * self.classes)
        if not fits:
            raise LayerError(f"{self.title}: {count} priors and {self.classes} classes need codes "
                             f"(N, {count * 4 * self.slots}), scores (N, {count * self.classes}) "
                             f"and truth (1, 1, G, 8); got {codes}, {scores} and {truth}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [()]

    def compute(self, codes: Tensor, scores: Tensor, prior: Tensor, truth: Tensor) -> Tensor:
        priors, variances = unpack_priors(prior)
        codes = codes.reshape(len(codes), len(priors), self.slots, 4)
        scores = scores.reshape(len(scores), len(priors), self.classes)
        with torch.no_grad():
            chosen = self._choose(codes, scores, priors, variances, truth)
        total = codes.new_zeros(())
        if self.parts[0]:
            total = total + self.options.loc_weight * self._code_losses(
                codes, priors, variances, chosen).sum()
        if self.parts[1]:
            total = total + self._class_loss(scores, chosen)
        return total / self._normalizer(len(codes), len(priors), len(chosen.labels))

    def _normalizer(self, images: int, priors: int, matches: int) -> int:
        loss = self.param.loss_param
        return max(1, {loss.VALID: matches, loss.FULL: images * priors,
                       loss.BATCH_SIZE: images}.get(self.mode, 1))

    # --- choosing -------------------------------------------------------------------------------

    def _choose(self, codes: Tensor, scores: Tensor, priors: Tensor, variances: Tensor,
                truth: Tensor) -> Chosen:
        options = self.options
        objects = [self._usable(own) for own in matching.ground_truth(truth, len(codes))]
        boxes = self._boxes(options.use_prior_for_matching, codes, priors, variances)
        found = [self._match(own, of) for own, of in zip(objects, boxes)]
        background = [np.zeros(0, int)] * len(codes)
        if self.mines:
            chosen = self._gather(found, objects, background, codes.device)
            losses = self._mining_losses(codes, scores, priors, variances, chosen)
            of_priors = options.use_prior_for_nms or not options.HasField("nms_param")
            boxes = self._boxes(of_priors, codes, priors, variances)
            for i, own in enumerate(objects):
                if len(own.labels):
                    found[i][0], background[i] = self._mine(found[i][0], losses[i], boxes[i][0])
        return self._gather(found, objects, background, codes.device)

    def _usable(self, own: matching.GroundTruth) -> matching.GroundTruth:
        if (own.labels == self.background).any():
            raise LayerError(f"{self.title}: an object has the label of the background, "
                             f"{self.background}")
        kept = ~own.difficult | self.options.use_difficult_gt
        labels = own.labels[kept]
        if self.options.map_object_to_agnostic:
            labels = np.full_like(labels, self.background + 1)
        if ((labels < 0) | (labels >= self.classes)).any():
            raise LayerError(f"{self.title}: an object has the label {labels.max()}, num_classes "
                             f"is {self.classes}")
        return matching.GroundTruth(own.boxes[kept], labels, own.difficult[kept])

    def _boxes(self, of_priors: bool, codes: Tensor, priors: Tensor, variances: Tensor) -> Tensor:
        """(N, 1 or slots, P, 4) the priors, or what is predicted; on the CPU"""
        if of_priors:
            return priors.cpu().expand(len(codes), 1, *priors.shape)
        spread = 1.0 if self.options.encode_variance_in_target else variances
        return decode(self.options.code_type, priors, spread, codes.transpose(1, 2)).cpu()

    def _match(self, own: matching.GroundTruth, boxes: Tensor) -> list[matching.Match]:
        """One match a slot; without share_location a slot has the objects of its class."""
        options = self.options
        threshold = options.overlap_threshold \
            if options.match_type == options.PER_PREDICTION else None
        inside = options.ignore_cross_boundary_bbox
        if options.share_location:
            return [matching.match(boxes[0], own.boxes, threshold, inside)]
        if options.use_prior_for_matching:
            found = matching.match(boxes[0], own.boxes, threshold, inside)
            labels = np.append(own.labels, [-1, -1])        # of IGNORED and UNMATCHED
            return [matching.Match(np.where(labels[found.index] == c, found.index,
                                            matching.UNMATCHED), found.overlap)
                    for c in range(self.classes)]
        return [self._match_class(c, own, boxes[c], threshold) for c in range(self.classes)]

    def _match_class(self, label: int, own: matching.GroundTruth, boxes: Tensor,
                     threshold: float | None) -> matching.Match:
        of_class = np.flatnonzero(own.labels == label)
        found = matching.match(boxes, own.boxes[of_class], threshold,
                               self.options.ignore_cross_boundary_bbox)
        back = np.append(of_class, [matching.IGNORED, matching.UNMATCHED])
        return matching.Match(back[found.index], found.overlap)

    def _mine(self, found: matching.Match, loss: np.ndarray,
              boxes: Tensor) -> tuple[matching.Match, np.ndarray]:
        options, nms = self.options, self.options.nms_param
        if options.mining_type == options.MAX_NEGATIVE:
            possible = matching.negatives_possible(found, options.neg_overlap)
            matches = np.float32((found.index > matching.UNMATCHED).sum())
            count = int(matches * np.float32(options.neg_pos_ratio))
        else:
            possible, count = np.arange(len(loss)), options.sample_size
        suppresses = options.HasField("nms_param") and nms.nms_threshold > 0
        order = matching.hardest(loss[possible], boxes[possible] if suppresses else None,
                                 nms.nms_threshold, nms.top_k)
        return matching.keep(found, possible[order[:max(count, 0)]],
                             unmatch=options.mining_type == options.HARD_EXAMPLE)

    def _gather(self, found: list, objects: list, background: list, device) -> Chosen:
        matched, boxes, labels = [np.zeros((3, 0), int)], [torch.zeros(0, 4)], [np.zeros(0, int)]
        for image, (matches, own) in enumerate(zip(found, objects)):
            for slot, each in enumerate(matches):
                prior = np.flatnonzero(each.index > matching.UNMATCHED)
                truth = each.index[prior]
                matched.append(np.stack((np.full_like(prior, image), prior,
                                         np.full_like(prior, slot))))
                boxes.append(own.boxes[truth])
                labels.append(own.labels[truth])
        negative = [np.stack((np.full_like(prior, i), prior)) for i, prior in enumerate(background)]
        return Chosen(torch.from_numpy(np.concatenate(matched, 1)).to(device),
                      torch.cat([b.to(boxes[-1].dtype) for b in boxes]).to(device),
                      torch.from_numpy(np.concatenate(labels)).to(device),
                      torch.from_numpy(np.concatenate(negative, 1)).to(device))

    def _mining_losses(self, codes: Tensor, scores: Tensor, priors: Tensor, variances: Tensor,
                       chosen: Chosen) -> np.ndarray:
        """(N, P) the loss of each prior with its match, or as background"""
        labels = torch.full(scores.shape[:2], self.background, device=scores.device)
        image, prior, _ = chosen.matched
        labels[image, prior] = chosen.labels
        losses = self._class_losses(scores.flatten(0, 1), labels.flatten()).view(labels.shape)
        if self.options.mining_type == self.options.HARD_EXAMPLE:
            losses[image, prior] += self._code_losses(codes, priors, variances, chosen)
        return losses.cpu().numpy()

    # --- losses ---------------------------------------------------------------------------------

    def _code_losses(self, codes: Tensor, priors: Tensor, variances: Tensor,
                     chosen: Chosen) -> Tensor:
        """(M,)"""
        options = self.options
        image, prior, slot = chosen.matched
        code, near, spread = codes[image, prior, slot], priors[prior], variances[prior]
        coded = 1.0 if options.encode_variance_in_target else spread
        target = encode(options.code_type, near, coded, chosen.boxes.to(near.dtype))
        if options.bp_inside:
            box = near if options.use_prior_for_matching \
                else decode(options.code_type, near, coded, code.detach())
            code = torch.where((box < 0) | (box > 1), target, code)
        if options.encode_variance_in_target:
            exact, target = code / spread, target / spread
            code = exact if Mode(options.mode) is Mode.EXACT else code + (exact - code).detach()
        if options.loc_loss_type == options.L2:
            return (code - target).square().sum(1) / 2
        return F.smooth_l1_loss(code, target, reduction="none").sum(1)

    def _class_loss(self, scores: Tensor, chosen: Chosen) -> Tensor:
        image, prior, _ = chosen.matched
        if self.mines:
            rows = torch.cat((scores[image, prior], scores[tuple(chosen.background)]))
            labels = torch.cat((chosen.labels,
                                torch.full_like(chosen.background[0], self.background)))
            return self._class_losses(rows, labels).sum()
        if self.options.conf_loss_type == self.options.LOGISTIC:
            return F.binary_cross_entropy_with_logits(
                scores, self._targets_of_all(scores, chosen), reduction="sum")
        labels = torch.full(scores.shape[:2], self.background, device=scores.device)
        labels[image, prior] = chosen.labels
        return self._class_losses(scores.flatten(0, 1), labels.flatten()).sum()

    def _targets_of_all(self, scores: Tensor, chosen: Chosen) -> Tensor:
        """(N, P, C) sigmoid targets without mining; there is none for the background"""
        image, prior, _ = chosen.matched
        if Mode(self.options.mode) is Mode.EXACT:
            target = torch.zeros_like(scores)
            target[image, prior, chosen.labels] = 1
            return target
        # SSD fills with the number of the background, and moves on by P, not P C, an image.
        target = torch.full_like(scores, self.background).flatten()
        target[image * scores.shape[1] + prior * self.classes + chosen.labels] = 1
        return target.view(scores.shape)

    def _class_losses(self, scores: Tensor, labels: Tensor) -> Tensor:
        """(R,) of scores (R, C)"""
        if self.options.conf_loss_type == self.options.SOFTMAX:
            found = F.log_softmax(scores, 1).gather(1, labels[:, None])[:, 0]
            return -floored(found, LEAST_LOG)
        target = torch.arange(self.classes, device=scores.device) == labels[:, None]
        return F.binary_cross_entropy_with_logits(
            scores, target.to(scores.dtype), reduction="none").sum(1)
