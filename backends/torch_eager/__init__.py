"""The torch backend: any form as plain torch operations, on any device, with gradients by torch."""
