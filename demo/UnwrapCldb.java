import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Key;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.Provider;
import java.security.Security;
import java.util.Arrays;
import java.util.Collections;
import java.util.HexFormat;
import javax.crypto.Cipher;
import javax.crypto.spec.IvParameterSpec;

/**
 * Unwraps the CLDB key through SunPKCS11 and prints its SHA-256:
 * java UnwrapCldb.java MODULE SLOT ENCRYPTED_KEY_FILE [PIN]
 *
 * SunPKCS11 knows neither data objects nor unwrapping with CBC, so the encrypted key comes from the file
 * conf/tokens/SERIAL/cldb.key.enc (16-byte IV, then ciphertext) and is decrypted with the Core KEK, which stays in the
 * token. Without a PIN the token's protected authentication path is used.
 */
class UnwrapCldb {
    public static void main(String[] arguments) throws Exception {
        char[] pin = arguments.length > 3 ? arguments[3].toCharArray() : null;
        Provider provider = provider(arguments[0], arguments[1]);
        KeyStore token = KeyStore.getInstance("PKCS11", provider);
        token.load(null, pin);
        String alias = Collections.list(token.aliases()).stream()
            .filter(name -> name.endsWith("/core-kek")).findFirst().orElseThrow();
        Key coreKek = token.getKey(alias, null);

        byte[] encrypted = Files.readAllBytes(Path.of(arguments[2]));
        Cipher cipher = Cipher.getInstance("AES/CBC/PKCS5Padding", provider);
        cipher.init(Cipher.DECRYPT_MODE, coreKek, new IvParameterSpec(encrypted, 0, 16));
        byte[] cldbKey = cipher.doFinal(encrypted, 16, encrypted.length - 16);

        byte[] checksum = MessageDigest.getInstance("SHA-256").digest(cldbKey);
        Arrays.fill(cldbKey, (byte) 0);
        System.out.println(HexFormat.of().withUpperCase().formatHex(checksum));
    }

    private static Provider provider(String module, String slot) throws Exception {
        Path settings = Files.createTempFile("pkcs11", ".cfg");
        try {
            Files.writeString(settings, "name = MapRHSM\nlibrary = " + module + "\nslot = " + slot + "\n");
            return Security.getProvider("SunPKCS11").configure(settings.toString());
        } finally {
            Files.delete(settings);
        }
    }
}
