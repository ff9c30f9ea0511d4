"""Operations and layers of torch networks."""
