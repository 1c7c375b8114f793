"""Blue-green deployment of Perl (PSGI) applications to DigitalOcean droplets behind HAProxy."""
