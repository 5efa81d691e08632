"""How long nets and kernels take, beside the least it could be."""
