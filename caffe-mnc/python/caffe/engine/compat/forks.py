"""What known forks of Caffe call their own: layer types and fields, and where they come from.

Messages about an unknown type or field say whose it is and what to do; the table of layer types in
caffe-mnc/README.md takes its forks from here.
"""

from __future__ import annotations

# fork -> its layer types
TYPES = {
    "SSD (weiliu89/caffe)": "AnnotatedData DetectionEvaluate DetectionOutput MultiBoxLoss "
                            "Normalize Permute PriorBox",
    "PSPNet (hszhao/PSPNet)": "BN Interp",
    "TSN (yjxiong/caffe)": "BN VideoData",
    "SegNet (alexgkendall/caffe-segnet)": "BN DenseImageData Upsample",
    "ENet (TimoSaemann/ENet)": "SpatialDropout",
    "DeepLab (deeplab-public-ver2)": "BiasChannel AdaptiveBiasChannel DenseCRF DomainTransform "
                                     "ImageSegData Interp MatRead MatWrite SegAccuracy UniqueLabel",
    "HED (s9xie/hed)": "ImageLabelmapData",
    "OSVOS (kmaninis/OSVOS-caffe)": "SigmoidCrossEntropyBalanceLoss",
    "CRF-RNN (torrvision/crfasrnn)": "MultiStageMeanfield",
    "DeconvNet (HyeonwooNoh/caffe)": "UnPooling",
    "R-FCN (daijifeng001/caffe-rfcn)": "BoxAnnotatorOHEM PSROIPooling SmoothL1LossOHEM "
                                       "SoftmaxWithLossOHEM",
    "MS-CNN (zhaoweicai/mscnn)": "BboxAccuracy BoxOutput DecodeBBox DetectionAccuracy "
                                 "DetectionLoss ImageGtData ProposalTarget ROIAlign",
    "Cascade R-CNN (zhaoweicai/cascade-rcnn)":
        "BboxAccuracy BoxGroupOutput DecodeBBox DetectionData DetectionGroupAccuracy "
        "DetectionGroupLoss EvalData FrcnnOutput HardMining ProposalTarget ROIAlign ScaleRoute",
    "Faster R-CNN in C++ (makefile/frcnn)": "FrcnnAnchorTarget FrcnnProposal FrcnnProposalTarget "
                                            "FrcnnRoiData PSROIAlign DeformablePSROIPooling",
    "mini-caffe (luoyetx/mini-caffe)": "Proposal",
    "PVANet (sanghoon/pva-faster-rcnn)": "Proposal ProposalLayer",
    "Deformable ConvNets (unsky/Deformable-ConvNets-caffe)": "DeformableConvolution",
    "OpenVINO (openvinotoolkit/training_toolbox_caffe)":
        "AnchorEmbeddingExtractor DetectionOutputExtended GRN PriorBoxClustered ScaleFilter",
    "RefineDet (sfzhang15/RefineDet)": "",
    "Focal loss for SSD (jiachen0212/ssd-focal_loss_caffe)": "MultiBoxFocalLoss",
    "YOLO (yeahkun/caffe-yolo)": "BoxData DetectionLoss EvalDetection",
    "YOLOv2 (gklz1982/caffe-yolov2)": "EvalDetection RegionLoss Reorg",
    "MobileNet-YOLO (eric612/MobileNet-YOLO)":
        "AssistedExcitation DepthwiseConvolution HardSigmoid LaneData ReLU6 SegmentationEvaluate "
        "Upsample YoloDetectionOutput YoloSeg Yolov3 Yolov3DetectionOutput",
    "YOLOv3 (ChenYingpeng/caffe-yolov3)": "Mish",
    "MobileNet (farmingyard/caffe-mobilenet)": "ConvolutionDepthwise",
    "ShuffleNet (farmingyard/ShuffleNet)": "ShuffleChannel",
    "SENet (hujie-frank/SENet)": "Axpy",
    "NVIDIA (NVIDIA/caffe)": "DetectNetTransformation L1Loss TRT",
    "FlowNet2 (lmb-freiburg/flownet2)": "ChannelNorm Correlation Downsample FlowAugmentation "
                                        "FlowWarp L1Loss NegReLU Resample",
    "C3D (chuckcho/video-caffe)": "NdConvolution NdPooling VideoData",
    "CTPN (tianzhi0549/CTPN)": "Lstm Reverse Transpose",
    "caffe_ocr (senlinuc/caffe_ocr)": "CTCDecoder DenseBlock ReverseTime WarpCTC WarpCTCLoss",
    "TextBoxes++ (MhLiao/TextBoxes_plusplus)": "CTCGreedyDecoder CTCLoss",
    "CaffeLSTM-OCR (dlunion)": "ContinuationIndicator CtcLoss LabelsequenceAccuracy "
                               "SequenceAccuracy",
    "caffe-face (ydwen/caffe-face)": "CenterLoss",
    "SphereFace (wy1iu/sphereface)": "MarginInnerProduct",
    "NormFace, AM-Softmax (happynear/caffe-windows)":
        "ChannelScale Flip FocalLoss GeneralContrastiveLoss GeneralTripletLoss GlobalLSEMargin "
        "InnerDistance LabelSpecificAdd LabelSpecificRescale Noise Normalize TripletLoss",
    "caffe-sl (wanji/caffe-sl)": "BatchTripletLoss DotProductSimilarity L2Norm NaiveTripletLoss "
                                 "PairwiseRankingLoss RankAccuracy TripletImageData",
    "JAA-Net (ZhiwenShao/JAANet)": "AUMaskBasedLand AlignDataTransform Combination DiceCoefLoss "
                                   "Division EuclideanLoss2",
    "OpenPose (CMU-Perceptual-Computing-Lab)": "CPMData ImResize Nms",
    "MNC (daijifeng001/caffe-mnc)": "MaskPooling MaskResize ROIWarping",
    "Fast R-CNN (rbgirshick/caffe-fast-rcnn)": "ROIPooling SmoothL1Loss",
}

# fork -> fields of messages that BVLC has, and messages of layers that are not here
FIELDS = {
    "CTPN (tianzhi0549/CTPN)": "var_eps moving_average decay",
    "TSN (yjxiong/caffe)": "video_data_param fix_crop is_flow max_distort more_fix_crop "
                           "multi_scale scale_ratios",
    "DeepLab (deeplab-public-ver2)": "adaptive_bias_channel_param bias_channel_param "
                                     "dense_crf_param domain_transform_param mat_read_param "
                                     "scale_factors unique_label_param update_global_stats",
    "NVIDIA (NVIDIA/caffe)": "allow_upscale cudnn_math_override horizontal_stretch_lower "
                             "horizontal_stretch_upper img_rand_resize_lower "
                             "img_rand_resize_upper rand_resize_ratio_lower scale_bias short_side "
                             "torch_pooling trt_param vertical_stretch_lower "
                             "vertical_stretch_upper store_blobs_in_old_format rampup_interval",
    "Intel (intel/caffe)": "avg_include_pad bn_stats_batch_size compile_net_state fusion_type "
                           "kernel_size_3d mn_activation_param multinode pad_3d "
                           "quantization_param random_aspect_ratio_param random_resize_param "
                           "spatial_dropout_param stats_batch_size stride_3d use_weight_bias",
    "MobileNet-YOLO (eric612/MobileNet-YOLO)":
        "enable_classf_aug seg_resize_height seg_resize_width segmentation_evaluate_param "
        "yolo_seg_param",
    "YOLO (yeahkun/caffe-yolo)": "box_data_param detection_loss_param side",
    "MS-CNN (zhaoweicai/mscnn)": "bbox_reg_param box_output_param decode_bbox_param "
                                 "detection_accuracy_param image_gt_data_param "
                                 "proposal_target_param",
    "Cascade R-CNN (zhaoweicai/cascade-rcnn)":
        "box_group_output_param detection_data_param detection_group_accuracy_param "
        "detection_group_loss_param eval_data_param frcnn_output_param hard_mining_param "
        "scale_route_param",
    "OpenVINO (openvinotoolkit/training_toolbox_caffe)":
        "adaptive_weighting embedding_extractor_param scale_filter_param",
    "NormFace, AM-Softmax (happynear/caffe-windows)":
        "channel_scale_param disable_mean disable_variance face_mirror "
        "general_contrastive_loss_param general_triplet_loss_param inner_distance_param "
        "label_specific_margin_param label_specific_rescale_param min_is_better normalize "
        "normalize_type distance_type",
    "FlowNet2 (lmb-freiburg/flownet2)": "augmentation_param correlation_param reader_param "
                                        "writer_param",
    "RefineDet (sfzhang15/RefineDet)": "objectness_score",
    "TextBoxes++ (MhLiao/TextBoxes_plusplus)": "denser_prior_boxes use_polygon",
    "C3D (chuckcho/video-caffe)": "kernel_shape pad_shape stride_shape",
    "caffe_ocr (senlinuc/caffe_ocr)": "denseblock_param reverse_time_param",
    "JAA-Net (ZhiwenShao/JAANet)": "au_mask_based_land_param combination_param division_param "
                                   "dice_coef_loss_param get_mirror_crop",
    "caffe-sl (wanji/caffe-sl)": "mu sim_type",
    "OpenPose (CMU-Perceptual-Computing-Lab)": "cpm_transform_param imresize_param nms_param",
    "channel pruning (yihui-he)": "bicubic filter_param new_dim",
    "3D U-Net (MouseCTSegmentation)": "pooling_nd_param convupsample_param crop_size_l",
}

# What does the same here, or nearly, by another name.
INSTEAD = {
    "NdConvolution": "Convolution, with one kernel_size for each axis",
    "kernel_shape": "kernel_size, once for each axis", "pad_shape": "pad, once for each axis",
    "stride_shape": "stride, once for each axis",
    "FrcnnProposal": "Proposal", "L2Norm": "Normalize",
    "update_global_stats": "use_global_stats",
    "Mish": "a layer of your own, x * tanh(softplus(x)), see docs/new_layers.md",
}


def forks_of_type(name: str) -> list[str]:
    """The forks that have a layer type of this name."""
    return [fork for fork, names in TYPES.items() if name in names.split()]


def said_of(name: str, *, kind: str) -> str:
    """What to tell who uses a fork's type or field that is not here; '' if no known fork has it."""
    table = TYPES if kind == "type" else FIELDS
    forks = [fork for fork, names in table.items() if name in names.split()]
    if not forks:
        return ""
    what = f"it is of {' and of '.join(forks[:2])}, a fork of Caffe, and not here"
    if name in INSTEAD:
        return f"{what}; use {INSTEAD[name]}"
    own = "a layer of your own can take its place, see docs/new_layers.md"
    return f"{what}; {own if kind == 'type' else 'remove it if the net can do without'}"
