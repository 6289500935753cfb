,
    map_extract($held, '$key')[1] AS "$name"
