"""Networks as pure functions over parameter trees, activations feature-major.

Each module has an `init` that draws the parameters and functions that apply bound weights (see
`sparl.compute.bind`). Weights are `[out, in]`, biases `[out]`.
"""
