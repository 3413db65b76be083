module sapflux.hosting/molecule/app/image

go 1.26.0
