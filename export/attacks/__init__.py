"""DeepSloth, one file a form: perturbations that keep a multi-exit network from exiting early (Hong et al., ICLR 2021)."""
