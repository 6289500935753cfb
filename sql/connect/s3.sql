-- What a session of DuckDB begins with, to read a lake in S3: credentials as the AWS command line finds them.
INSTALL httpfs;
INSTALL aws;
LOAD httpfs;
LOAD aws;
CREATE SECRET lake (TYPE s3, PROVIDER credential_chain, SCOPE '$lake'$options);
