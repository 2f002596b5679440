-- What the supervisor itself says to the server.

-- name: create_database
create database fluxa;
