-- What a session of DuckDB begins with, to read a lake in Google Cloud Storage: with an HMAC key.
INSTALL httpfs;
LOAD httpfs;
CREATE SECRET lake (TYPE gcs, KEY_ID getenv('GCS_HMAC_KEY'), SECRET getenv('GCS_HMAC_SECRET'), SCOPE '$lake');
