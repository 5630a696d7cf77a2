"""Random realistic heads with a known latent: training data for a tri-plane generator. See README.md."""
