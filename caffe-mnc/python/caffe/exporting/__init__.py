"""Nets as files of other programs: torch, TorchScript, torch.export, ONNX, plain torch code.

    targets.py      what a target is, what is asked of a file, what is said of it
    program.py      the graph of a module, by torch.export; which layers its operators are of
    checking.py     inputs of the sizes asked for, and how far outputs are apart
    torch_files.py  state_dict, pt2, TorchScript
    onnx_file.py    ONNX, run by onnxruntime
    code_file.py    a .py of plain torch: code_text.py, its text; fx_text.py, nodes of a graph;
                    plain.py, operators that torch lacks; safetensors_file.py, the weights beside it
"""
